import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { expect } from 'chai';
import { eventually, query } from '../src/index.ts';
import { groupLives } from '../src/process-group.ts';

describe('what the testkit started', () => {
  for (const signal of ['SIGKILL', 'SIGINT', 'SIGTERM'] as const) {
    it(`is gone soon after ${signal} to the process that started it`, async () => {
      const holder = spawn(process.execPath, ['test/fixtures/holder.ts'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const { url, pid } = await new Promise<{ url: string; pid: number }>((resolve, reject) => {
        createInterface({ input: holder.stdout }).once('line', (line) => resolve(JSON.parse(line)));
        holder.once('exit', () => reject(new Error('the holder ended before it said anything')));
      });
      const [row] = await query<{ directory: string }>(
        url,
        "select current_setting('data_directory') as directory",
      );
      expect(groupLives(pid)).to.equal(true);

      holder.kill(signal);

      await eventually(async () => !groupLives(pid));
      await eventually(() =>
        query(url, 'select 1').then(
          () => false,
          () => true,
        ),
      );
      await eventually(() => !existsSync(row?.directory as string));
    });
  }
});
