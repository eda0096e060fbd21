// The process behind keeper.ts: reads what to remove, waits for its parent's end, removes it.
import { rename, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { Keepsake } from './keeper.ts';
import { endGroup } from './process-group.ts';

const kept = new Map<number, Keepsake>();

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});

for await (const line of createInterface({ input: process.stdin })) {
  const { id, keepsake } = JSON.parse(line) as { id: number; keepsake?: Keepsake };
  if (keepsake) kept.set(id, keepsake);
  else kept.delete(id);
}

for (const keepsake of [...kept.values()].reverse()) {
  await remove(keepsake).catch((error: Error) =>
    console.error(`testkit: could not remove ${JSON.stringify(keepsake)}: ${error.message}`),
  );
}

async function remove(keepsake: Keepsake): Promise<void> {
  switch (keepsake.type) {
    case 'processes':
      return endGroup(keepsake.group, { signal: keepsake.signal, grace: 3_000 });
    case 'directory':
      return rm(keepsake.path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    case 'file':
      return keepsake.from ? rename(keepsake.from, keepsake.path) : rm(keepsake.path, { force: true });
    case 'resource':
      await fetch(keepsake.url, {
        method: 'DELETE',
        headers: { authorization: keepsake.authorization },
        signal: AbortSignal.timeout(5_000),
      });
      return;
    case 'container': {
      const { removeContainer } = await import('./rabbitmq/docker.ts');
      return removeContainer(keepsake.name);
    }
    case 'database': {
      const { dropDatabase } = await import('./postgres/database.ts');
      return dropDatabase(keepsake.server, keepsake.name, keepsake.role);
    }
  }
}
