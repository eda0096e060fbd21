// What the messages after the first tenth took: until then the program gets warm.

export interface Usage {
  messages: number;
  seconds: number;
  /** CPU of this process. */
  cpuSeconds: number;
}

/** Call `done` for each message; it returns the usage with the last one. */
export function measure(count: number): { done(): Usage | undefined } {
  const warmUp = Math.floor(count / 10);
  let since = performance.now();
  let cpu = process.cpuUsage();
  let messages = 0;
  return {
    done() {
      messages += 1;
      if (messages === warmUp) {
        since = performance.now();
        cpu = process.cpuUsage();
      }
      if (messages !== count) return undefined;
      const { user, system } = process.cpuUsage(cpu);
      return {
        messages: count - warmUp,
        seconds: (performance.now() - since) / 1_000,
        cpuSeconds: (user + system) / 1_000_000,
      };
    },
  };
}
