// Documents that are made from code, and never by hand.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { files, root } from './tree.ts';

/** The way to write them anew. */
const MAKE = 'make docs';

/**
 * Writes documents, and removes what else is in `directory`: the document of a service that is no more. With --check, says
 * what it would have changed, and changes nothing.
 * @param documents by path seen from the root
 */
export async function settle(documents: Map<string, object>, directory?: string): Promise<void> {
  const check = process.argv.includes('--check');
  const faults: string[] = [];
  for (const [file, document] of documents) {
    const wanted = await formatted(file, document);
    if (readIfThere(file) === wanted) continue;
    if (check) faults.push(`${file} is out of date: run \`${MAKE}\``);
    else {
      mkdirSync(dirname(join(root, file)), { recursive: true });
      writeFileSync(join(root, file), wanted);
      console.log(file);
    }
  }
  for (const file of directory === undefined ? [] : files(`${directory}/*.json`)) {
    if (documents.has(file)) continue;
    if (check) faults.push(`${file} belongs to no service: run \`${MAKE}\` to remove it`);
    else {
      rmSync(join(root, file));
      console.log(`${file} removed`);
    }
  }
  for (const fault of faults) console.error(fault);
  if (faults.length > 0) process.exitCode = 1;
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
