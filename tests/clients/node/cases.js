// The cases through JobServiceClient of @google-cloud/aiplatform.
'use strict';
const assert = require('node:assert/strict');
const {ENDPOINT, PROJECT, LOCATION, PARENT, IMAGE} = require('./connection.js');

const INVALID_ARGUMENT = 3, NOT_FOUND = 5, FAILED_PRECONDITION = 9; // google.rpc.Code
const HTTP = {[INVALID_ARGUMENT]: 400, [NOT_FOUND]: 404, [FAILED_PRECONDITION]: 400};
const BUCKET = 'cusp-conformance';
const ENDED = ['JOB_STATE_SUCCEEDED', 'JOB_STATE_FAILED', 'JOB_STATE_CANCELLED'];
const SLEEP = 'trap "exit 0" TERM; sleep 300 & wait'; // ends at once when told to
const RESULT = 'd=/gcs/${AIP_MODEL_DIR#gs://}; mkdir -p "$d" && echo 42 > "$d/result"';

const sleep = ms => new Promise(done => setTimeout(done, ms));

function rfc3339({seconds, nanos}) {
  return new Date(Number(seconds) * 1000).toISOString().replace('.000Z', `.${String(nanos).padStart(9, '0')}Z`);
}

// The error of a call that must be refused: {message, violations}. Version 6 over REST does not read the error's body:
// `code` is HTTP's and `message` the whole text; everywhere else `code` is google.rpc's and the details are decoded.
async function refused(code, call) {
  let error;
  try {
    await call();
  } catch (e) {
    error = e;
  }
  assert(error, `want code ${code}, got an answer`);
  if (error.code === HTTP[code] && error.message.startsWith('{')) {
    const body = JSON.parse(error.message).error;
    assert.equal(body.code, HTTP[code]);
    return {message: body.message, violations: fields(body.details)};
  }
  assert.equal(error.code, code, `want code ${code}, got ${error.code}: ${error.message}`);
  return {message: error.message, violations: fields(error.statusDetails)};
}

function fields(details) {
  return (details || []).flatMap(d => d.fieldViolations || []).map(v => v.field);
}

async function storage(method, path, body) {
  const reply = await fetch(ENDPOINT + path, {method, body, headers: {'content-type': 'application/json'}});
  return {status: reply.status, text: await reply.text()};
}

class Cases {
  constructor(client, protocol, run) {
    Object.assign(this, {client, protocol, run, made: []});
  }

  // ---- helpers
  message(command, displayName, labels = {}) {
    return {
      displayName,
      labels: {conformance: this.run, ...labels},
      jobSpec: {
        workerPoolSpecs: [{
          machineSpec: {machineType: 'n1-standard-4'},
          replicaCount: 1,
          containerSpec: {imageUri: IMAGE, command: ['sh', '-c', command], args: ['a b', 'ü'],
            env: [{name: 'GREETING', value: 'hallo'}]},
        }],
        baseOutputDirectory: {outputUriPrefix: `gs://${BUCKET}/${this.run}/${displayName}`},
      },
    };
  }

  async make(command, name, labels) {
    const [job] = await this.client.createCustomJob({parent: PARENT, customJob: this.message(command, name, labels)});
    this.made.push(job.name);
    return job;
  }

  async until(job, states) {
    const end = Date.now() + 60000;
    for (;;) {
      const [now] = await this.client.getCustomJob({name: job.name});
      if (states.includes(now.state)) return now;
      assert(Date.now() < end, `gave up waiting for ${job.name} to be ${states}`);
      await sleep(100);
    }
  }

  ended(job) { return this.until(job, ENDED); }
  running(job) { return this.until(job, ['JOB_STATE_RUNNING']); }

  async names(expression) {
    const [jobs] = await this.client.listCustomJobs(
      {parent: PARENT, filter: `labels.conformance="${this.run}" AND (${expression})`});
    return jobs.map(j => j.displayName).sort();
  }

  // ---- cases
  async create() {
    const made = await storage('POST', `/storage/v1/b?project=${PROJECT}`, JSON.stringify({name: BUCKET}));
    assert([200, 409].includes(made.status), made.text);
    const sent = this.message('true', 'créé', {team: 'vision'});
    const job = this.first = await this.make('true', 'créé', {team: 'vision'});
    assert.match(job.name, new RegExp(`^projects/\\d+/locations/${LOCATION}/customJobs/[1-9]\\d{9,18}$`));
    assert(['JOB_STATE_PENDING', 'JOB_STATE_QUEUED'].includes(job.state), job.state);
    assert(Math.abs(Date.now() / 1000 - Number(job.createTime.seconds)) < 60);
    assert.equal(job.displayName, sent.displayName);
    assert.deepEqual({...job.labels}, sent.labels);
    assert.equal(job.jobSpec.baseOutputDirectory.outputUriPrefix, sent.jobSpec.baseOutputDirectory.outputUriPrefix);
    const [pool] = job.jobSpec.workerPoolSpecs;
    assert.equal(pool.machineSpec.machineType, 'n1-standard-4');
    assert.equal(Number(pool.replicaCount), 1);
    assert.equal(pool.containerSpec.imageUri, IMAGE);
    assert.equal(pool.diskSpec.bootDiskType, 'pd-ssd');
  }

  async get() {
    const job = await this.ended(this.first);
    const [alias] = await this.client.getCustomJob({name: `${PARENT}/customJobs/${job.name.split('/').pop()}`});
    assert.deepEqual(alias, job);
    const {containerSpec} = job.jobSpec.workerPoolSpecs[0];
    assert.deepEqual(containerSpec.args, ['a b', 'ü']);
    assert.equal(containerSpec.env[0].value, 'hallo');
  }

  async list_paging() {
    const mine = [];
    for (let i = 0; i < 5; i++) mine.unshift((await this.make('true', `page-${i}`, {paging: this.run})).name);
    const request = {parent: PARENT, filter: `labels.paging="${this.run}"`, pageSize: 2};
    const [automatic] = await this.client.listCustomJobs(request);
    assert.deepEqual(automatic.map(j => j.name), mine, 'autoPaginate');
    const streamed = [];
    for await (const job of this.client.listCustomJobsAsync(request)) streamed.push(job.name);
    assert.deepEqual(streamed, mine, 'listCustomJobsAsync');
    const manual = [];
    for (let next = request; next;) {
      const [page, following] = await this.client.listCustomJobs(next, {autoPaginate: false});
      manual.push(page.map(j => j.name));
      next = following;
    }
    assert.deepEqual(manual, [mine.slice(0, 2), mine.slice(2, 4), mine.slice(4)], 'page by page');
  }

  async filter() {
    const a = await this.ended(await this.make('true', 'filter-a', {tier: 'gold'}));
    await this.ended(await this.make('exit 1', 'filter-b', {tier: 'silver'}));
    const c = await this.make('true', 'filter-c', {tier: 'silver'});
    for (const [expression, want] of [
      ['display_name="filter-a"', 'a'], ['displayName="filter-a"', 'a'], ['display_name:"filter-*"', 'abc'],
      ['labels.tier="silver"', 'bc'], ['labels.tier=gold OR display_name="filter-c"', 'ac'],
      ['state="JOB_STATE_FAILED" AND labels.tier:*', 'b'], ['labels.tier:* AND NOT labels.tier="gold"', 'bc'],
      [`create_time>="${rfc3339(a.createTime)}" AND create_time<"${rfc3339(c.createTime)}" AND labels:tier`, 'ab'],
    ]) {
      assert.deepEqual(await this.names(expression), [...want].map(x => `filter-${x}`), expression);
    }
    const e = await refused(INVALID_ARGUMENT, () => this.names('state = = 3'));
    assert.match(e.message, /filter/i);
  }

  async cancel() {
    const job = await this.running(await this.make(SLEEP, 'cancel'));
    const t0 = performance.now();
    await this.client.cancelCustomJob({name: job.name});
    const took = performance.now() - t0;
    const done = await this.ended(job);
    assert.equal(done.state, 'JOB_STATE_CANCELLED');
    assert.equal(done.error.code, 1);
    await this.client.cancelCustomJob({name: job.name});
    return `answered after ${took.toFixed(0)} ms`;
  }

  async delete() {
    const job = await this.ended(await this.make('true', 'delete'));
    const [operation] = await this.client.deleteCustomJob({name: job.name});
    assert.equal(operation.latestResponse.done, true);
    assert.equal(operation.latestResponse.response.type_url, 'type.googleapis.com/google.protobuf.Empty');
    const [empty, metadata] = await operation.promise();
    assert.deepEqual({...empty}, {});
    assert(metadata.genericMetadata.createTime, 'DeleteOperationMetadata has a create time');
    await refused(NOT_FOUND, () => this.client.getCustomJob({name: job.name}));
    const busy = await this.running(await this.make(SLEEP, 'delete-busy'));
    try {
      await refused(FAILED_PRECONDITION, () => this.client.deleteCustomJob({name: busy.name}));
    } finally {
      await this.client.cancelCustomJob({name: busy.name});
    }
  }

  async wait_real_job() {
    const t0 = performance.now();
    const job = await this.ended(await this.make(RESULT, 'real'));
    const took = performance.now() - t0;
    assert.equal(job.state, 'JOB_STATE_SUCCEEDED', job.error?.message);
    assert(rfc3339(job.createTime) <= rfc3339(job.startTime) && rfc3339(job.startTime) <= rfc3339(job.endTime));
    const object = encodeURIComponent(`${this.run}/real/model/result`);
    const result = await storage('GET', `/storage/v1/b/${BUCKET}/o/${object}?alt=media`);
    assert.deepEqual(result, {status: 200, text: '42\n'});
    return `${(took / 1000).toFixed(2)} s from create to SUCCEEDED`;
  }

  async failed_job() {
    const job = await this.ended(await this.make('echo boom >&2; exit 3', 'failed'));
    assert.equal(job.state, 'JOB_STATE_FAILED');
    assert.equal(job.error.code, 3);
    for (const words of ['workerpool0-0', 'non-zero status of 3', 'boom']) assert(job.error.message.includes(words), words);
    return job.error.message.split('\n')[0];
  }

  async error_mapping() {
    const missing = await refused(NOT_FOUND, () => this.client.getCustomJob({name: `${PARENT}/customJobs/1234567890123`}));
    assert.match(missing.message, /1234567890123/);
    const noPools = this.message('true', 'bad');
    noPools.jobSpec.workerPoolSpecs = [];
    let e = await refused(INVALID_ARGUMENT, () => this.client.createCustomJob({parent: PARENT, customJob: noPools}));
    assert.deepEqual(e.violations, ['job_spec.worker_pool_specs']);
    const two = this.message('true', '');
    two.jobSpec.workerPoolSpecs[0].machineSpec.machineType = 'abacus';
    e = await refused(INVALID_ARGUMENT, () => this.client.createCustomJob({parent: PARENT, customJob: two}));
    assert.deepEqual(e.violations.sort(), ['display_name', 'job_spec.worker_pool_specs[0].machine_spec.machine_type']);
    for (const parent of [`projects/${PROJECT}/locations/mars-north1`, 'projects/-/locations/us-central1']) {
      await refused(INVALID_ARGUMENT, () => this.client.createCustomJob({parent, customJob: this.message('true', 'bad')}));
    }
    await refused(INVALID_ARGUMENT, () => this.client.listCustomJobs({parent: PARENT, pageToken: 'made-up'}));
  }

  async operations() {
    const job = await this.ended(await this.make('true', 'operations'));
    const [{name}] = await this.client.deleteCustomJob({name: job.name});
    const [got] = await this.client.getOperation({name});
    assert(got.done && got.response.type_url.endsWith('google.protobuf.Empty'), JSON.stringify(got));
    const progress = await this.client.checkDeleteCustomJobProgress(name);
    assert.equal(progress.name, name);
    await progress.promise();
    const listed = [];
    for await (const operation of this.client.listOperationsAsync({name: PARENT})) listed.push(operation.name);
    assert(listed.includes(name), `${name} is not in ${listed}`);
    await this.client.cancelOperation({name});
    await this.client.deleteOperation({name});
    await refused(NOT_FOUND, () => this.client.getOperation({name}));
    return name;
  }

  async cleanUp() {
    for (const name of this.made) {
      try {
        const [job] = await this.client.getCustomJob({name});
        if (!ENDED.includes(job.state)) {
          await this.client.cancelCustomJob({name});
          await this.ended(job);
        }
        await this.client.deleteCustomJob({name});
      } catch { /* best effort */ }
    }
  }
}

module.exports = {Cases};
