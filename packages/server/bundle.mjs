/**
 * The second half of `npm run build`: everything that runs, as a bundle in `dist/`.
 *
 * A few files instead of hundreds, and shared: the server and its built-in backends use one copy of core, zod and the rest. What is not
 * needed is not read: nothing of a backend that no key names, nothing of HTTP and metrics for `sealwax check`.
 *
 * A built-in backend is part of it, as `dist/backend-<name>.js`, and no peer to be installed: from outside each would bring its own copy of core and
 * zod and the many files of its SDK (half the time until the first RPC), and its version might not fit. Outside stays what a bundle cannot
 * hold: the process that loads a PKCS #11 module through a native addon. That, and vendors' backends, are found by Node's own rules.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { rolldown } from 'rolldown';
import { minify } from 'rolldown/utils';

const packages = path.resolve(import.meta.dirname, '..');
const dist = path.join(import.meta.dirname, 'dist');
const source = (...steps) => path.join(packages, ...steps);
const backends = readdirSync(packages)
  .filter((folder) => folder.startsWith('backend-'))
  .map((folder) => folder.slice('backend-'.length));

const resolve = {
  // The sources and not what tsc made of them: a stack trace then points at TypeScript.
  alias: { '@sealwax/core': source('core/src/index.ts') },
  extensionAlias: { '.js': ['.ts', '.js'] },
};
const output = {
  dir: dist,
  format: 'esm',
  sourcemap: true,
  entryFileNames: '[name].js',
  // rolldown joins the names of all entries that need a chunk.
  chunkFileNames({ name, moduleIds }) {
    if (name.startsWith('vendor')) return 'vendor-[hash].js';
    // So that a stack trace says whose code it is.
    const owners = new Set(moduleIds.map((id) => /\/(backend-\w+)\/src\//.exec(id)?.[1]));
    const [owner] = owners;
    return owners.size === 1 && owner !== undefined ? `${owner}-[name]-[hash].js` : 'chunk-[name]-[hash].js';
  },
};

/** CommonJS modules ask for their folder, and an ES module has none. What they make of it are paths of files that only their other functions read. */
const foldersOfCommonJs = {
  name: 'folders-of-commonjs',
  renderChunk(code) {
    const missing = ['dirname', 'filename'].filter(
      (word) =>
        new RegExp(`\\b__${word}\\b`).test(code) && !new RegExp(`^(const|let|var) __${word}\\b`, 'm').test(code),
    );
    if (missing.length === 0) return null;
    const declarations = missing.map((word) => `const __${word} = import.meta.${word};`).join(' ');
    // In the first line: the source map holds as it is.
    return { code: `${declarations} ${code}`, map: null };
  },
};

/**
 * `node:http` without what it has for the web: of a built-in module that an ES module imports, Node reads every export at once, and one of these
 * loads its whole `fetch` (measured on Node 24: 20 ms of each start).
 */
const httpWithoutFetch = {
  name: 'http-without-fetch',
  resolveId(id, importer, { kind }) {
    return kind === 'import-statement' && /^(node:)?http$/.test(id) ? '\0http' : null;
  },
  load(id) {
    if (id !== '\0http') return null;
    const names = Object.entries(Object.getOwnPropertyDescriptors(http))
      .filter(([, { get }]) => get === undefined)
      .map(([name]) => name);
    return `const http = process.getBuiltinModule('node:http');\nexport default http;\nexport const { ${names.join(', ')} } = http;\n`;
  },
};

/** What libraries load for what is not used here, each a part of every start: the client and .proto files for two services of grpc-js, threads for pino's logs. */
const needless = [
  { by: /\/grpc-js\/.*\/(channelz|orca)\.js$/, ids: ['@grpc/proto-loader', './make-client', './channel-credentials'] },
  { by: /\/pino\/lib\/(tools|transport)\.js$/, ids: ['worker_threads', 'thread-stream'] },
];
const withoutNeedless = {
  name: 'without-needless',
  resolveId: (id, importer = '') =>
    needless.some(({ by, ids }) => by.test(importer) && ids.includes(id)) ? '\0needless' : null,
  load: (id) => (id === '\0needless' ? 'module.exports = {};' : null),
};

/** grpc-js as the server needs it: its index loads the client too, twice as much again, which only some backends need. */
const grpcServerAlone = {
  name: 'grpc-server-alone',
  resolveId: (id, importer = '') =>
    id === '@grpc/grpc-js' && importer.startsWith(source('server/src/')) ? '\0grpc-server' : null,
  load(id) {
    if (id !== '\0grpc-server') return null;
    const grpc = path.dirname(createRequire(import.meta.url).resolve('@grpc/grpc-js'));
    const from = (module) => `from ${JSON.stringify(path.join(grpc, module))};`;
    return [
      `export { Server } ${from('server.js')}`,
      `export { ServerCredentials } ${from('server-credentials.js')}`,
      `export { Metadata } ${from('metadata.js')}`,
      `export { Status as status } ${from('constants.js')}`,
      // What protoc makes has a client beside each service; nothing calls it, and it is left out.
      'export const Client = undefined, makeGenericClientConstructor = undefined;',
    ].join('\n');
  },
};

for (const file of existsSync(dist) ? readdirSync(dist) : []) {
  if (/\.js(\.map)?$/.test(file)) await rm(path.join(dist, file));
}
await bundlePlugin();
await bundleClient();

async function bundlePlugin() {
  const bundle = await rolldown({
    input: {
      'cli/main': source('server/src/cli/main.ts'),
      program: source('server/src/cli/program.ts'),
      ...Object.fromEntries(
        backends.flatMap((name) => [
          [`backend-${name}`, source(`backend-${name}/src/index.ts`)],
          // Its own commands: `sealwax local init`.
          ...(hasCommands(name) ? [[`sealwax-${name}`, source(`backend-${name}/src/cli.ts`)]] : []),
        ]),
      ),
    },
    platform: 'node',
    resolve,
    external: [/\.node$/],
    treeshake: { manualPureFunctions: ['makeGenericClientConstructor'] },
    plugins: [httpWithoutFetch, withoutNeedless, grpcServerAlone, foldersOfCommonJs],
  });
  // Apart from our own code, whose chunks alone keep their maps: the first stack trace through a file reads its map, and a library's would be large.
  const vendor = { name: 'vendor', test: /node_modules/, entriesAware: true };
  const { output: chunks } = await bundle.write({ ...output, codeSplitting: { groups: [vendor] } });
  await bundle.close();
  for (const { type, name, fileName } of chunks) {
    if (type === 'chunk' && name.startsWith('vendor')) await shorten(path.join(dist, fileName));
  }
  await writeNotices(chunks.flatMap((chunk) => (chunk.type === 'chunk' ? chunk.moduleIds : [])));
}

/** `@sealwax/server/kms-v2`, whose users bring their own gRPC library: its credentials and channels must be of one copy. */
async function bundleClient() {
  const input = { 'kms-v2': source('server/src/kms-v2.ts') };
  const bundle = await rolldown({ input, platform: 'node', resolve, external: [/^@grpc\//, /^@bufbuild\//] });
  await bundle.write(output);
  await bundle.close();
}

function hasCommands(backend) {
  return existsSync(source(`backend-${backend}/src/cli.ts`));
}

/** Without comments and white space, which Node would read and parse at each start; names stay. */
async function shorten(file) {
  const { code, errors } = await minify(path.basename(file), await readFile(file, 'utf8'), {
    module: true,
    compress: false,
    mangle: false,
  });
  if (errors.length > 0) throw new Error(`${file}: ${JSON.stringify(errors)}`);
  await writeFile(file, code);
  await rm(`${file}.map`, { force: true });
}

/** The licenses of what is in the bundle ask for their text to go with it. */
async function writeNotices(moduleIds) {
  const folders = new Set();
  for (const id of moduleIds) {
    const [folder] = /^.*\/node_modules\/(@[^/]+\/)?[^/]+(?=\/)/.exec(id) ?? [];
    if (folder !== undefined) folders.add(folder);
  }
  const notices = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
    const texts = readdirSync(folder)
      .filter((file) => /^(licen[cs]e|notice|copying)(\.|$)/i.test(file))
      .map((file) => readFileSync(path.join(folder, file), 'utf8').trim());
    return [`${name} ${version} (${license})`, ...texts].join('\n\n');
  });
  await writeFile(path.join(dist, 'THIRD-PARTY-NOTICES'), `${notices.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`);
}
