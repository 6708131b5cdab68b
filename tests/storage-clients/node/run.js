// The Node storage client against cusp. One JSON line a case; see ../README.md.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const os = require('os');
const path = require('path');
const {createRequire} = require('module');
const home = createRequire(path.join(process.env.CUSP_CLIENT_ENV, 'package.json'));
const {Storage} = home('@google-cloud/storage');
const {of, check, refused} = require('../../lib/cases.js');

const endpoint = process.env.CUSP_ENDPOINT;
const storage = new Storage({apiEndpoint: endpoint, projectId: process.env.CUSP_PROJECT || 'demo'});
const run = crypto.randomBytes(4).toString('hex');
const bucket = storage.bucket('node-' + run);
const tmp = fs.mkdtempSync(path.join(os.tmpdir(), 'cusp-node-'));
const big = crypto.randomBytes(3 * 1024 * 1024 + 11);

const cases = {
  async bucket() {
    const [b] = await storage.createBucket(bucket.name, {location: 'us-central1'});
    check(b.metadata.location === 'US-CENTRAL1', 'location');
    await refused(storage.createBucket(bucket.name), 409);
    check((await bucket.exists())[0] && !(await storage.bucket('no-such-' + run).exists())[0], 'exists');
    check((await storage.getBuckets())[0].some(x => x.name === bucket.name), 'getBuckets');
    await bucket.setLabels({team: 'x'});
    check((await bucket.getLabels())[0].team === 'x', 'labels');
    await bucket.deleteLabels('team');
    check(!(await bucket.getLabels())[0].team, 'deleteLabels');
  },
  async upload_simple() {
    await bucket.file('s/a b.txt').save('hello', {resumable: false, metadata: {contentType: 'text/x-a', metadata: {k: 'v'}}});
    const [m] = await bucket.file('s/a b.txt').getMetadata();
    check(m.contentType === 'text/x-a' && m.metadata.k === 'v' && String(m.size) === '5', JSON.stringify(m));
    check((await bucket.file('s/a b.txt').download())[0].toString() === 'hello', 'download');
  },
  async upload_resumable() {
    const f = path.join(tmp, 'big');
    fs.writeFileSync(f, big);
    await bucket.upload(f, {destination: 'big', resumable: true, validation: 'crc32c'});
    await bucket.upload(f, {destination: 'big-chunks', resumable: true, chunkSize: 1024 * 1024, validation: 'md5'});
    for (const n of ['big', 'big-chunks']) {
      check((await bucket.file(n).download())[0].equals(big), n);
    }
  },
  async stream() {
    await new Promise((ok, no) => {
      const w = bucket.file('stream').createWriteStream({resumable: true});
      w.on('error', no).on('finish', ok);
      for (let i = 0; i < 100; i++) w.write('0123456789'.repeat(1000));
      w.end();
    });
    const part = await new Promise((ok, no) => {
      const out = [];
      bucket.file('stream').createReadStream({start: 5, end: 14}).on('data', d => out.push(d)).on('error', no)
        .on('end', () => ok(Buffer.concat(out).toString()));
    });
    check(part === '5678901234', part);
    check(String((await bucket.file('stream').getMetadata())[0].size) === '1000000', 'size');
  },
  async gzip() {
    await bucket.file('z').save('squeeze '.repeat(1000), {gzip: true, resumable: false});
    check((await bucket.file('z').getMetadata())[0].contentEncoding === 'gzip', 'encoding');
    check((await bucket.file('z').download())[0].toString() === 'squeeze '.repeat(1000), 'download');
  },
  async list() {
    for (const n of ['l/1', 'l/2', 'l/d/3']) await bucket.file(n).save(n, {resumable: false});
    const [files, , api] = await bucket.getFiles({prefix: 'l/', delimiter: '/', autoPaginate: false});
    check(files.map(f => f.name).join() === 'l/1,l/2' && api.prefixes.join() === 'l/d/', 'prefix');
    const [all] = await bucket.getFiles({prefix: 'l/', maxResults: 2});
    check(all.length >= 2, 'pages');
    const [globbed] = await bucket.getFiles({matchGlob: 'l/**3'});
    check(globbed.map(f => f.name).join() === 'l/d/3', 'glob');
  },
  async copy_move_compose() {
    await bucket.file('l/1').copy(bucket.file('c/1'));
    await bucket.file('c/1').move('c/2');
    await bucket.file('c/2').rename('c/3');
    check((await bucket.file('c/3').download())[0].toString() === 'l/1' && !(await bucket.file('c/2').exists())[0], 'move');
    await bucket.file('c/3').moveFileAtomic('c/4');
    await bucket.combine(['l/1', 'l/2', 'c/4'], 'c/all');
    check((await bucket.file('c/all').download())[0].toString() === 'l/1l/2l/1', 'compose');
  },
  async metadata() {
    const f = bucket.file('l/1');
    await f.setMetadata({cacheControl: 'no-store', metadata: {a: '1', b: '2'}});
    await f.setMetadata({metadata: {a: null}});
    const [m] = await f.getMetadata();
    check(m.cacheControl === 'no-store' && !m.metadata.a && m.metadata.b === '2' && String(m.metageneration) === '3', JSON.stringify(m));
    await f.setStorageClass('nearline');
    check((await f.getMetadata())[0].storageClass === 'NEARLINE', 'class');
  },
  async preconditions() {
    const f = bucket.file('p');
    await f.save('1', {resumable: false, preconditionOpts: {ifGenerationMatch: 0}});
    await refused(f.save('2', {resumable: false, preconditionOpts: {ifGenerationMatch: 0}}), 412);
    await refused(bucket.file('p', {preconditionOpts: {ifGenerationMatch: 1}}).delete(), 412);
    await refused(bucket.file('missing').getMetadata(), 404);
    await refused(bucket.file('missing').download(), 404);
  },
  async iam() {
    const [p] = await bucket.iam.getPolicy({requestedPolicyVersion: 3});
    p.bindings.push({role: 'roles/storage.objectViewer', members: ['allUsers']});
    await bucket.iam.setPolicy(p);
    check((await bucket.iam.getPolicy())[0].bindings.length === 1, 'bindings');
    check((await bucket.iam.testPermissions(['storage.buckets.get']))[0]['storage.buckets.get'] === true, 'permissions');
  },
  async remove() {
    await bucket.deleteFiles();
    check((await bucket.getFiles())[0].length === 0, 'left over');
    await bucket.delete();
    check(!(await bucket.exists())[0], 'exists');
  },
};

of('@google-cloud/storage', process.argv[2] || 'rest')(cases).then(code => {
  fs.rmSync(tmp, {recursive: true});
  process.exit(code);
});
