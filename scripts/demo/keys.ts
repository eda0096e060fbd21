// The keys of the demo: each stops or starts a part of it.
import { emitKeypressEvents } from 'node:readline';

export interface Key {
  key: string;
  /** `stops the broker, or starts it again` */
  does: string;
  press(): unknown;
}

/** @returns false without a terminal */
export function listenForKeys(keys: Key[], interrupt: () => void): boolean {
  const { stdin } = process;
  if (!stdin.isTTY || !process.stdout.isTTY) return false;
  emitKeypressEvents(stdin);
  stdin.setRawMode(true);
  stdin.resume();
  stdin.on('keypress', (_, pressed: { name?: string; ctrl?: boolean }) => {
    // In raw mode the terminal does not send SIGINT.
    if (pressed.ctrl && pressed.name === 'c') interrupt();
    else keys.find(({ key }) => key === pressed.name)?.press();
  });
  process.once('exit', () => stdin.setRawMode(false));
  return true;
}
