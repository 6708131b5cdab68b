// How the client reaches the server (reference: what @google-cloud/aiplatform takes as options).
'use strict';
const path = require('node:path');

const ENDPOINT = process.env.CUSP_ENDPOINT.replace(/\/$/, '');
const PROJECT = process.env.CUSP_PROJECT || 'demo';
const LOCATION = process.env.CUSP_LOCATION || 'us-central1';

// A module as the package itself sees it: each major has its own google-gax and google-auth-library.
function beside(entry, name) {
  return require.resolve(name, {paths: [path.dirname(entry)]});
}

function connect(protocol, major, service = 'JobServiceClient') {
  const pkg = `aiplatform-${major}`;
  const Client = require(pkg).v1[service];
  const {version} = require(path.join(process.env.NODE_PATH, pkg, 'package.json'));
  const gax = beside(require.resolve(pkg), 'google-gax');
  const {OAuth2Client} = require(beside(gax, 'google-auth-library'));
  const authClient = new OAuth2Client(); // a token of our own; without one the client would look for Google's
  authClient.setCredentials({access_token: 'local', expiry_date: Date.now() + 3600000});
  const options = {authClient, ...address(protocol)};
  if (protocol === 'grpc') options.sslCreds = require(gax).grpc.credentials.createInsecure();
  return {client: new Client(options), version};
}

function address(protocol) {
  const tls = protocol.endsWith('-tls');
  const url = tls ? new URL(`https://${process.env.CUSP_HOSTPORT}`) : new URL(ENDPOINT);
  const options = {apiEndpoint: url.hostname, port: Number(url.port)};
  if (protocol.startsWith('rest')) options.fallback = true;
  if (protocol === 'rest') options.protocol = 'http';
  return options;
}

module.exports = {connect, ENDPOINT, PROJECT, LOCATION, PARENT: `projects/${PROJECT}/locations/${LOCATION}`,
  IMAGE: process.env.CUSP_IMAGE};
