// The peer: what the shim does for GET /tools/{name} and GET /status, with Node, express and dockerode, behind TLS and
// the same token check, with the same line in the log. Arguments: port, PEM file, engine's socket, audience, public key
// in PEM, toolbox id.
const [port, pem, socketPath, audience, keyFile, toolbox] = process.argv.slice(2);
const crypto = require('crypto');
const fs = require('fs');
const https = require('https');
const express = require('express');
const Docker = require('dockerode');

const docker = new Docker({ socketPath });
const key = crypto.createPublicKey(fs.readFileSync(keyFile));
const used = new Map();

function verify(request, response, next) {
  const [head, claims, signature] = (request.get('authorization') || '').replace('Bearer ', '').split('.');
  const now = Date.now() / 1000;
  try {
    const said = JSON.parse(Buffer.from(claims, 'base64url'));
    const signed = crypto.verify(null, Buffer.from(`${head}.${claims}`), key, Buffer.from(signature, 'base64url'));
    const body = crypto.createHash('sha256').update(request.body || '').digest('hex');
    if (!signed || said.aud !== audience || said.htm !== request.method || said.htu !== request.originalUrl
      || said.body !== body || said.exp <= now || Math.abs(now - said.iat) > 5 || used.has(said.jti)) throw new Error('no');
    used.set(said.jti, said.exp);
    for (const [jti, exp] of used) {
      if (exp > now) break;
      used.delete(jti);
    }
    next();
  } catch {
    response.status(401).json({ error: { code: 'unauthenticated' } });
  }
}

function container(said) {
  const { State: state, HostConfig: host, Config: config } = said;
  return {
    id: said.Id, name: said.Name.slice(1), instance_id: config.Labels['toolboxes.instance-id'],
    spec_generation: Number(config.Labels['toolboxes.spec-generation']), state: state.Status, health: null,
    exit_code: state.ExitCode, oom_killed: state.OOMKilled, error: state.Error, started_at: state.StartedAt,
    finished_at: state.FinishedAt, restart_count: said.RestartCount, image: config.Image,
    image_digest: config.Labels['toolboxes.image-digest'], ports: [],
    environment_names: (config.Env || []).map((entry) => entry.split('=')[0]),
    limits: { memory_bytes: host.Memory, nano_cpus: host.NanoCpus, pids: host.PidsLimit },
    endpoint_id: Object.values(said.NetworkSettings.Networks)[0].EndpointID,
  };
}

// The line that the shim logs of each command.
function journal(request, response, next) {
  const began = process.hrtime.bigint();
  response.on('finish', () => process.stdout.write(`${JSON.stringify({
    severity: 'INFO', message: `${request.method} ${request.path} ${response.statusCode}`,
    time: new Date().toISOString(), toolbox, milliseconds: Number(process.hrtime.bigint() - began) / 1e6,
  })}\n`));
  next();
}

const app = express();
app.use(journal);
app.use(express.raw({ type: () => true, limit: '1mb' }));
app.use(verify);
app.get('/tools/:name', async (request, response) => {
  response.json({ container: container(await docker.getContainer(request.params.name).inspect()), changed: false });
});
app.get('/status', async (request, response) => {
  const filters = JSON.stringify({ label: [`toolboxes.toolbox-id=${toolbox}`] });
  const listed = await docker.listContainers({ all: true, filters });
  response.json({
    engine_id: listed[0].Labels['toolboxes.engine-id'], complete: true, containers: listed.map((said) => ({
      id: said.Id, name: said.Names[0].slice(1), state: said.State, health: null,
      endpoint_id: Object.values(said.NetworkSettings.Networks)[0].EndpointID,
      memory_bytes: Number(said.Labels['toolboxes.memory-bytes']),
    })),
  });
});
const cert = fs.readFileSync(pem);
https.createServer({ key: cert, cert, keepAliveTimeout: 60000 }, app).listen(Number(port), '127.0.0.1');
