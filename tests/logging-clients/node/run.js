// The Node logging client against cusp. One JSON line a case; see ../README.md.
'use strict';
const path = require('path');
const {createRequire} = require('module');
const home = createRequire(path.join(process.env.CUSP_CLIENT_ENV, 'package.json'));
const {Logging} = home('@google-cloud/logging');
const {grpc, GoogleAuth} = home('google-gax');
const {of, check, refused} = require('../../lib/cases.js');

const project = process.env.CUSP_PROJECT;
const at = new URL(process.env.CUSP_ENDPOINT);
const logging = new Logging({projectId: project, apiEndpoint: at.hostname, port: Number(at.port), sslCreds: grpc.credentials.createInsecure()});
const log = logging.log('node/log');
const mine = `logName="${log.formattedName_ || `projects/${project}/logs/node%2Flog`}" AND jsonPayload.step:*`;

const cases = {
  async write() {
    const t0 = Date.now() - 60000;
    const entries = [];
    for (let i = 0; i < 25; i++) {
      entries.push(log.entry({timestamp: new Date(t0 + i), severity: i % 2 ? 'WARNING' : 'INFO', insertId: 'id' + String(i).padStart(2, '0'),
                              labels: {run: '7'}, resource: {type: 'global'}}, {step: i}));
    }
    await log.write(entries);
    await log.write(log.entry({timestamp: new Date(t0), resource: {type: 'global'}, trace: `projects/${project}/traces/t1`, spanId: '00f1',
                               traceSampled: true, sourceLocation: {file: 'a.js', line: 7, function: 'f'},
                               httpRequest: {requestMethod: 'GET', requestUrl: '/x', status: 404}}, 'text'));
    await log.error(log.entry({resource: {type: 'global'}}, 'by its severity'));
    await log.write(entries[0]);  // a retry is not written twice
  },
  async list() {
    const [got] = await log.getEntries({filter: 'jsonPayload.step:*', orderBy: 'timestamp asc'});
    check(got.length === 25, `${got.length} entries`);
    got.forEach((e, i) => check(e.data.step === i && e.metadata.labels.run === '7' && e.metadata.insertId === 'id' + String(i).padStart(2, '0'),
                                e.metadata));
    const [loud] = await logging.getEntries({filter: `${mine} AND severity>=WARNING AND jsonPayload.step>20`, orderBy: 'timestamp asc'});
    check(loud.length === 2 && loud[0].metadata.severity === 'WARNING', loud.map(e => e.metadata));
    const [web] = await log.getEntries({filter: 'httpRequest.status=404 AND textPayload:tex'});
    check(web.length === 1 && web[0].data === 'text' && web[0].metadata.httpRequest.status === 404 && web[0].metadata.traceSampled &&
          web[0].metadata.sourceLocation.file === 'a.js', web.map(e => e.metadata));
    const [err] = await log.getEntries({filter: 'severity=ERROR'});
    check(err.length === 1 && err[0].data === 'by its severity', err.map(e => e.metadata));
  },
  async paging() {
    let query = {filter: 'jsonPayload.step:*', orderBy: 'timestamp desc', pageSize: 10, autoPaginate: false};
    let next = 24;
    while (query) {
      const [page, more] = await log.getEntries(query);
      check(page.length <= 10, `a page of ${page.length}`);
      for (const e of page) check(e.data.step === next--, e.metadata);
      query = more && more.pageToken ? more : null;
    }
    check(next === -1, `ended before ${next}`);
  },
  async stream() {
    const got = await new Promise((ok, no) => {
      const out = [];
      logging.getEntriesStream({filter: mine, orderBy: 'timestamp asc'}).on('data', e => out.push(e)).on('error', no).on('end', () => ok(out));
    });
    check(got.length === 25, `${got.length} entries`);
  },
  async job_lines() {
    const [got] = await logging.getEntries({filter: `resource.type="ml_job" AND resource.labels.job_id="${process.env.CUSP_JOB}"`,
                                            orderBy: 'timestamp asc'});
    check(got.length > 4 && got[got.length - 1].data === 'Job completed successfully.' &&
          got[0].metadata.resource.labels.task_name === 'service', got.map(e => e.data));
  },
  async logs() {
    const [logs] = await logging.getLogs();
    check(logs.some(l => decodeURIComponent(l.name).endsWith('node/log')), logs.map(l => l.name));
  },
  async tail() {
    await new Promise((ok, no) => {
      const stream = logging.tailEntries({filter: `logName:"node%2Flog"`});
      const timer = setTimeout(() => no(new Error('nothing came in 30 s')), 30000);
      const end = fn => {
        clearTimeout(timer);
        stream.end();
        fn();
      };
      let wrote = false;
      stream.on('error', e => end(() => no(e)));
      stream.on('data', r => {
        if (!wrote) {
          wrote = true;
          log.write(log.entry({resource: {type: 'global'}}, 'live')).catch(no);
        }
        if (r.entries.some(e => e.data === 'live')) end(ok);
      });
    });
  },
  async error_mapping() {
    await refused(logging.getEntries({filter: 'severity>>'}), 3);
    await refused(logging.log('no-such-log').delete(), 5);
  },
  async remove() {
    await log.delete();
    check((await log.getEntries())[0].length === 0, 'entries are left');
  },
};

of('@google-cloud/logging', 'grpc')(cases).then(code => process.exit(code));
