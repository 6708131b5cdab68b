// Creates, reads, lists, cancels and deletes a training pipeline as the documentation's Node sample does: argv = PROTOCOL.
'use strict';
const assert = require('node:assert/strict');
const {connect, PARENT, IMAGE} = require('./connection.js');

const CUSTOM = 'gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml';

// google.protobuf.Value from a plain object, as the package's helpers make it.
function toValue(v) {
  if (v === null) return {kind: 'nullValue', nullValue: 'NULL_VALUE'};
  if (Array.isArray(v)) return {kind: 'listValue', listValue: {values: v.map(toValue)}};
  if (typeof v === 'object') {
    const fields = Object.fromEntries(Object.entries(v).map(([k, x]) => [k, toValue(x)]));
    return {kind: 'structValue', structValue: {fields}};
  }
  const kind = {string: 'stringValue', number: 'numberValue', boolean: 'boolValue'}[typeof v];
  return {kind, [kind]: v};
}

function backingJob(p) {
  return p.trainingTaskMetadata.structValue.fields.backingCustomJob.stringValue;
}

async function ended(client, name) {
  for (;;) {
    const [p] = await client.getTrainingPipeline({name});
    if (/SUCCEEDED|FAILED|CANCELLED/.test(p.state)) return p;
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

async function main(protocol) {
  const {client} = connect(protocol, 'v6', 'PipelineServiceClient');
  const inputs = {workerPoolSpecs: [{replicaCount: 1, machineSpec: {machineType: 'n1-standard-4'},
    containerSpec: {imageUri: IMAGE, command: ['true'], args: []}}], scheduling: {timeout: '600s', strategy: null}};
  const body = {displayName: 'node', trainingTaskDefinition: CUSTOM, trainingTaskInputs: toValue(inputs),
    labels: {by: 'node'}};
  const [made] = await client.createTrainingPipeline({parent: PARENT, trainingPipeline: body});
  assert.match(made.name, /\/trainingPipelines\/\d+$/);
  assert.equal(made.trainingTaskDefinition, CUSTOM);
  const p = await ended(client, made.name);
  assert.equal(p.state, 'PIPELINE_STATE_SUCCEEDED', JSON.stringify(p.error));
  assert.match(backingJob(p), /\/customJobs\/\d+$/);
  assert.equal(p.trainingTaskInputs.structValue.fields.scheduling.structValue.fields.timeout.stringValue, '600s');
  const [listed] = await client.listTrainingPipelines({parent: PARENT, filter: 'labels.by="node"'});
  assert.deepEqual(listed.map(x => x.name), [p.name]);
  const [long] = await client.createTrainingPipeline({parent: PARENT,
    trainingPipeline: {...body, labels: {'cusp-test-run-ms': '60000'}}});
  await client.cancelTrainingPipeline({name: long.name});
  const stopped = await ended(client, long.name);
  assert.equal(stopped.state, 'PIPELINE_STATE_CANCELLED');
  assert.equal(stopped.error.code, 1);
  const [operation] = await client.deleteTrainingPipeline({name: p.name});
  await operation.promise();
  await assert.rejects(client.getTrainingPipeline({name: p.name}), /does not exist/);
  await assert.rejects(client.createTrainingPipeline({parent: PARENT,
    trainingPipeline: {...body, trainingTaskInputs: toValue({...inputs, turbo: true})}}), /turbo/);
  await client.close();
  console.log(JSON.stringify({name: p.name}));
}

main(process.argv[2]).catch(e => {
  console.error(e);
  process.exitCode = 1;
});
