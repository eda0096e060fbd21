// Documents that are generated from the code.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { files, root } from './tree.ts';

/**
 * Writes documents, and removes every other JSON file of `directory`: the document of a service that was removed. With
 * --check it changes nothing, and says what it would have changed.
 * @param documents by path from the root: JSON, or text as it is
 */
export async function writeDocuments(
  documents: Map<string, object | string>,
  directory?: string,
): Promise<void> {
  if (process.argv.includes('--check')) {
    const faults = await outOfDate(documents, directory);
    for (const fault of faults) console.error(fault);
    if (faults.length > 0) process.exitCode = 1;
    return;
  }
  for (const [file, wanted] of await changed(documents)) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), wanted);
    console.log(file);
  }
  for (const file of leftOver(documents, directory)) {
    rmSync(join(root, file));
    console.log(`${file} removed`);
  }
}

/** One sentence for each document that `make docs` would change. */
export async function outOfDate(
  documents: Map<string, object | string>,
  directory?: string,
): Promise<string[]> {
  return [
    ...(await changed(documents)).map(([file]) => `${file} is out of date: run \`make docs\``),
    ...leftOver(documents, directory).map(
      (file) => `${file} belongs to no service: run \`make docs\` to remove it`,
    ),
  ];
}

/** The documents that differ from their files, as they should be. */
async function changed(documents: Map<string, object | string>): Promise<[file: string, wanted: string][]> {
  const found: [string, string][] = [];
  for (const [file, document] of documents) {
    const wanted = typeof document === 'string' ? document : await formatted(file, document);
    if (readIfThere(file) !== wanted) found.push([file, wanted]);
  }
  return found;
}

function leftOver(documents: Map<string, unknown>, directory?: string): string[] {
  return directory === undefined ? [] : files(`${directory}/*.json`).filter((file) => !documents.has(file));
}

/** JSON as the formatter of this checkout writes it. */
function formatted(file: string, document: object): Promise<string> {
  const biome = join(root, 'node_modules', '.bin', 'biome');
  const child = spawn(process.execPath, [biome, 'format', `--stdin-file-path=${file}`], {
    cwd: root,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => (output += chunk));
  child.stdin.end(JSON.stringify(document));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve(output) : reject(new Error(`biome failed to format ${file}`)),
    );
  });
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(join(root, file), 'utf8');
  } catch {
    return undefined;
  }
}
