// The TypeScript SDK's server on node:http. Arguments: the directory that has its node_modules, and the port.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [directory, port] = process.argv.slice(2);
const { resolve } = createRequire(`${directory}/package.json`);
const load = (name) => import(pathToFileURL(resolve(name)));

const { McpServer, createMcpHandler } = await load('@modelcontextprotocol/server');
const { NodeStreamableHTTPServerTransport, toNodeHandler } = await load('@modelcontextprotocol/node');
const z = await load('zod/v4');

function buildServer() {
  const server = new McpServer({ name: 'benchmark', version: '1' });
  const schemas = { inputSchema: z.object({ a: z.int(), b: z.int() }), outputSchema: z.object({ result: z.int() }) };
  server.registerTool('add', { description: 'Add two numbers.', ...schemas }, async ({ a, b }) => ({
    content: [{ type: 'text', text: String(a + b) }],
    structuredContent: { result: a + b },
  }));
  return server;
}

// The handshake era: a server and a transport for each session.
const sessions = new Map();

async function openSession() {
  const transport = new NodeStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => sessions.set(id, transport),
    onsessionclosed: (id) => sessions.delete(id),
  });
  await buildServer().connect(transport);
  return transport;
}

const modern = toNodeHandler(createMcpHandler(buildServer));

createServer(async (request, response) => {
  if (request.headers['mcp-protocol-version'] === '2026-07-28') {
    await modern(request, response);
    return;
  }
  const transport = sessions.get(request.headers['mcp-session-id']) ?? (await openSession());
  await transport.handleRequest(request, response);
}).listen(Number(port), '127.0.0.1');
