// Creates, follows, lists, cancels and deletes a tuning job as the documentation's Node sample does: argv = PROTOCOL.
'use strict';
const assert = require('node:assert/strict');
const {connect, PARENT, IMAGE} = require('./connection.js');

async function ended(client, name) {
  for (;;) {
    const [j] = await client.getHyperparameterTuningJob({name});
    if (/SUCCEEDED|FAILED|CANCELLED/.test(j.state)) return j;
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

async function main(protocol) {
  const {client} = connect(protocol, 'v6', 'JobServiceClient');
  const body = {
    displayName: 'node', maxTrialCount: 4, parallelTrialCount: 2, maxFailedTrialCount: 1,
    labels: {by: 'node', 'cusp-test-metric': 'accuracy'},
    studySpec: {
      metrics: [{metricId: 'accuracy', goal: 'MAXIMIZE'}],
      parameters: [{parameterId: 'lr', doubleValueSpec: {minValue: 0.01, maxValue: 1}, scaleType: 'UNIT_LOG_SCALE'},
        {parameterId: 'layers', integerValueSpec: {minValue: 1, maxValue: 4}},
        {parameterId: 'opt', categoricalValueSpec: {values: ['sgd', 'adam']}}],
    },
    trialJobSpec: {workerPoolSpecs: [{replicaCount: 1, machineSpec: {machineType: 'n1-standard-4'},
      containerSpec: {imageUri: IMAGE, command: ['true'], args: []}}]},
  };
  const [made] = await client.createHyperparameterTuningJob({parent: PARENT, hyperparameterTuningJob: body});
  assert.match(made.name, /\/hyperparameterTuningJobs\/\d+$/);
  assert.equal(made.state, 'JOB_STATE_PENDING');
  const j = await ended(client, made.name);
  assert.equal(j.state, 'JOB_STATE_SUCCEEDED', JSON.stringify(j.error));
  assert.deepEqual(j.trials.map(t => t.id), ['1', '2', '3', '4']);
  for (const t of j.trials) {
    assert.equal(t.state, 'SUCCEEDED');
    assert.deepEqual(t.parameters.map(p => p.parameterId), ['lr', 'layers', 'opt']);
    assert.equal(typeof t.parameters[0].value.numberValue, 'number');
    assert.match(t.parameters[2].value.stringValue, /^(sgd|adam)$/);
    assert.equal(t.finalMeasurement.metrics[0].metricId, 'accuracy');
    assert.equal(Number(t.finalMeasurement.stepCount), 3);
    assert.match(t.customJob, /\/customJobs\/\d+$/);
  }
  const [listed] = await client.listHyperparameterTuningJobs({parent: PARENT, filter: 'labels.by="node"'});
  assert.deepEqual(listed.map(x => x.name), [j.name]);
  assert.equal(listed[0].trials.length, 0);
  const [long] = await client.createHyperparameterTuningJob({parent: PARENT,
    hyperparameterTuningJob: {...body, labels: {'cusp-test-run-ms': '60000'}}});
  await client.cancelHyperparameterTuningJob({name: long.name});
  const stopped = await ended(client, long.name);
  assert.equal(stopped.state, 'JOB_STATE_CANCELLED');
  assert.equal(stopped.error.code, 1);
  const [operation] = await client.deleteHyperparameterTuningJob({name: j.name});
  await operation.promise();
  await assert.rejects(client.getHyperparameterTuningJob({name: j.name}), /does not exist/);
  await assert.rejects(client.createHyperparameterTuningJob({parent: PARENT,
    hyperparameterTuningJob: {...body, maxTrialCount: 0}}), /max_trial_count/);
  await client.close();
  console.log(JSON.stringify({name: j.name}));
}

main(process.argv[2]).catch(e => {
  console.error(e);
  process.exitCode = 1;
});
