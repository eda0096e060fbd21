import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Refusal } from './stage.ts';

/**
 * The peers are TypeScript with decorators, which Node.js does not run as it stands.
 * @throws {Refusal} when one of them does not compile
 */
export function compilePeers(): void {
  const home = fileURLToPath(new URL('..', import.meta.url));
  const { status } = spawnSync(
    process.execPath,
    [join(home, 'node_modules/.bin/tsc'), '-p', join(home, 'tsconfig.peers.json')],
    { stdio: 'inherit' },
  );
  if (status !== 0) throw new Refusal('The peers do not compile: see above.');
}
