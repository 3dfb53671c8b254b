/** What is published: its size, its forms, and the copy in the example. */

import assert from 'node:assert/strict';
import {execFileSync} from 'node:child_process';
import {mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, before, test} from 'node:test';
import {gzipSync} from 'node:zlib';
// @ts-expect-error the build has no types
import {bundle, CHAT_FILE, forChat} from '../build.mjs';

const HERE = process.cwd();  // js-client/

/** A project with nothing but the package in it, as `npm pack` and `npm install` make it. */
let project = '';

const run = (program: string, ...args: string[]) => execFileSync(program, args, {cwd: project, encoding: 'utf8'});
const write = (name: string, text: string) => writeFileSync(join(project, name), text);

before(() => {
  project = mkdtempSync(join(tmpdir(), 'client-'));
  const packed = execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', project], {cwd: HERE, encoding: 'utf8'});
  write('package.json', '{"name": "empty", "private": true}');
  run('npm', 'install', '--offline', '--no-audit', '--no-fund', `./${packed.trim().split('\n').at(-1)}`);
});
after(() => rmSync(project, {recursive: true, force: true}));

const USE = `
  class Socket { constructor(url) { Socket.url = url; } close() {} }
  const client = connect('https://example.com/ws', {WebSocket: Socket});
  client.topic('news');
  client.close();
  console.log(typeof connect, client.state, Socket.url);
`;
const USED = 'function closed wss://example.com/ws\n';

test('it is smaller than 5 KB, as browsers get it', async () => {
  const size = gzipSync(await bundle({minify: true}), {level: 9}).length;
  assert.ok(size < 5 * 1024, `${size} bytes`);
});

test('the file of the chat is what the build makes', async () => {
  const isCurrent = readFileSync(CHAT_FILE, 'utf8') === await forChat();
  assert.ok(isCurrent, 'run `npm run build` in js-client/, and commit the file in examples/chat/');
});

test('the package has what it needs, no more, and depends on nothing', () => {
  const home = join(project, 'node_modules/rr-py-ws-client');
  const files = run('find', home, '-type', 'f', '-printf', '%P\\n').trim().split('\n').sort();
  assert.deepEqual(files, [
    'LICENSE', 'README.md',
    'dist/cjs/index.d.ts', 'dist/cjs/index.js', 'dist/cjs/package.json', 'dist/cjs/types.d.ts',
    'dist/esm/index.d.ts', 'dist/esm/index.js', 'dist/esm/types.d.ts',
    'package.json',
  ]);
  assert.equal(JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')).dependencies, undefined);
});

test('Node.js requires it', () => {
  write('use.cjs', `const {connect} = require('rr-py-ws-client');${USE}`);
  assert.equal(run('node', 'use.cjs'), USED);
});

test('Node.js imports it', () => {
  write('use.mjs', `import {connect} from 'rr-py-ws-client';${USE}`);
  assert.equal(run('node', 'use.mjs'), USED);
});

test('TypeScript knows its types, from modules of both kinds', () => {
  const text = `
    import {connect, type Lost} from 'rr-py-ws-client';
    const news = connect('/ws').topic<{id: number}>('news', {history: {last: 1}});
    news.on('message', ({id}, {position}) => [id.toFixed(), position?.length]);
    news.onGap(({reason}: Lost) => reason);
    // @ts-expect-error there is no such event
    news.on('massage', () => {});
    // @ts-expect-error messages have an id
    news.on('message', ({title}) => title);
    export async function first(): Promise<number> {
      for await (const {id} of news) return id;
      return 0;
    }
  `;
  for (const name of ['use.mts', 'use.cts']) write(name, text);
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2020', '--lib', 'es2020', '--types', ''];
  run('node', join(HERE, 'node_modules/typescript/bin/tsc'), ...options, 'use.mts', 'use.cts');
});

test('Vite builds a page with it', () => {
  mkdirSync(join(project, 'node_modules'), {recursive: true});
  symlinkSync(join(HERE, 'node_modules/vite'), join(project, 'node_modules/vite'));
  write('index.html', '<script type="module" src="/main.js"></script>');
  write('main.js', `import {connect} from 'rr-py-ws-client'; window.client = connect('/ws');`);
  run('node', join(HERE, 'node_modules/vite/bin/vite.js'), 'build', '--logLevel', 'warn');
  const built = run('sh', '-c', 'cat dist/assets/*.js');
  assert.match(built, /the server stops, or the page is left/);
  assert.ok(gzipSync(built).length < 6 * 1024);
});
