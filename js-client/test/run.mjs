// Checks the types, makes the package and the tests, and runs these; arguments go to `node --test`.

import {spawnSync} from 'node:child_process';
import {readdir, rm} from 'node:fs/promises';
import {fileURLToPath} from 'node:url';
import {build} from 'esbuild';
import {makePackage} from '../build.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

function run(...command) {
  const {status} = spawnSync(process.execPath, command, {stdio: 'inherit', cwd: here('..')});
  if (status !== 0) process.exit(status ?? 1);
}

run('node_modules/typescript/bin/tsc');
await makePackage();
await rm(here('../build'), {recursive: true, force: true});
const tests = (await readdir(here('.'))).filter((name) => name.endsWith('.test.ts'));
await build({
  entryPoints: tests.map(here),
  outdir: here('../build'),
  outExtension: {'.js': '.mjs'},
  bundle: true,
  platform: 'node',
  format: 'esm',
  packages: 'external',
  external: ['../build.mjs'],
  sourcemap: 'inline',
  logLevel: 'warning',
});
const made = tests.map((name) => `build/${name.replace(/ts$/, 'mjs')}`);
run('--enable-source-maps', '--test', '--test-reporter=dot', ...process.argv.slice(2), ...made);
