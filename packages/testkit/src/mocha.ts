/** Registers something to do when the last test of the run has ended, from within a hook. */
export function atTheEnd(context: Mocha.Context, title: string, work: () => Promise<void>): void {
  let suite = context.test?.parent;
  while (suite?.parent) suite = suite.parent;
  suite?.afterAll(title, async function () {
    this.timeout(60_000);
    await work();
  });
}
