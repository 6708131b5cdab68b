// Asks and tells a Vizier study as the documentation's Node sample does: argv = PROTOCOL.
'use strict';
const assert = require('node:assert/strict');
const {connect, PARENT} = require('./connection.js');

async function main(protocol) {
  const {client} = connect(protocol, 'v6', 'VizierServiceClient');
  const missing = {code: protocol.startsWith('rest') ? 404 : 5};
  const displayName = `node-${protocol}-${process.pid}`;
  const [study] = await client.createStudy({parent: PARENT, study: {displayName, studySpec: {
    metrics: [{metricId: 'loss', goal: 'MINIMIZE'}],
    parameters: [{parameterId: 'x', doubleValueSpec: {minValue: -1, maxValue: 1}}]}}});
  assert.match(study.name, /\/studies\/\d+$/);
  const [found] = await client.lookupStudy({parent: PARENT, displayName});
  assert.equal(found.name, study.name);
  const losses = [];
  for (let i = 0; i < 5; i++) {
    const [operation] = await client.suggestTrials({parent: study.name, suggestionCount: 1, clientId: 'node'});
    const [given] = await operation.promise();
    const trial = given.trials[0];
    assert.equal(trial.state, 2); // ACTIVE: the package gives enums of operations' results as numbers
    const loss = (trial.parameters[0].value.numberValue - 0.2) ** 2;
    await client.addTrialMeasurement({trialName: trial.name, measurement: {stepCount: 1, metrics: [{metricId: 'loss', value: loss}]}});
    const [checking] = await client.checkTrialEarlyStoppingState({trialName: trial.name});
    const [stop] = await checking.promise();
    assert.equal(stop.shouldStop, false);
    const [done] = await client.completeTrial({name: trial.name});
    assert.equal(done.finalMeasurement.metrics[0].value, loss);
    losses.push(loss);
  }
  const [best] = await client.listOptimalTrials({parent: study.name});
  assert.equal(best.optimalTrials[0].finalMeasurement.metrics[0].value, Math.min(...losses));
  const [trials] = await client.listTrials({parent: study.name});
  assert.equal(trials.length, 5);
  await assert.rejects(client.completeTrial({name: `${study.name}/trials/99`}), missing);
  await client.deleteStudy({name: study.name});
  await assert.rejects(client.getStudy({name: study.name}), missing);
  console.log('ok');
}

main(process.argv[2]).catch(e => {
  console.error(e);
  process.exit(1);
});
