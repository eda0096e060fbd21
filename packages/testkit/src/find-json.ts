import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The JSON file of that name, `a/b.json`, in `from` or the nearest directory above it that has one. */
export function findJson<Content>(name: string, from: string): Content | undefined {
  for (let directory = from; ; directory = dirname(directory)) {
    const path = join(directory, name);
    if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8')) as Content;
    if (directory === dirname(directory)) return undefined;
  }
}
