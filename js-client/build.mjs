// Makes dist/ (ESM and CommonJS, each with its types) and the file of examples/chat, which has no build step.

import {spawnSync} from 'node:child_process';
import {cp, mkdir, rm, writeFile} from 'node:fs/promises';
import {createRequire} from 'node:module';
import {fileURLToPath} from 'node:url';
import {build} from 'esbuild';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const {name, version} = createRequire(import.meta.url)('./package.json');

/** The single file for pages without a build step. */
export const CHAT_FILE = here(`../examples/chat/public/${name}.js`);

/** Bundle the client; returns its text. */
export async function bundle(options) {
  const {outputFiles: [file]} = await build({
    entryPoints: [here('src/index.ts')],
    absWorkingDir: here('.'),
    bundle: true,
    write: false,
    target: 'es2020',
    format: 'esm',
    ...options,
  });
  return file.text;
}

/** Return what `CHAT_FILE` has to be. */
export function forChat() {
  const banner = `// ${name} ${version}: made from js-client/ by \`npm run build\`, not to be edited.`;
  return bundle({banner: {js: banner}});
}

function declarations() {
  const tsc = here('node_modules/typescript/bin/tsc');
  const {status} = spawnSync(process.execPath, [tsc, '-p', here('tsconfig.build.json')], {stdio: 'inherit'});
  if (status !== 0) process.exit(1);
}

/** Make dist/. */
export async function makePackage() {
  await rm(here('dist'), {recursive: true, force: true});
  declarations();
  for (const format of ['esm', 'cjs']) {
    const to = here(`dist/${format}`);
    await mkdir(to, {recursive: true});
    for (const file of ['index.d.ts', 'types.d.ts']) await cp(here(`dist/types/${file}`), `${to}/${file}`);
    await writeFile(`${to}/index.js`, await bundle({format}));
  }
  await rm(here('dist/types'), {recursive: true});
  await writeFile(here('dist/cjs/package.json'), '{"type": "commonjs"}\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await makePackage();
  await writeFile(CHAT_FILE, await forChat());
}
