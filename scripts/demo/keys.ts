// What can be broken with one key, while the demo stays up.
import { emitKeypressEvents } from 'node:readline';

export interface Key {
  key: string;
  /** `stops the broker, or starts it again` */
  does: string;
  press(): unknown;
}

/** Listens on the terminal; elsewhere it does nothing and says false. */
export function listenForKeys(keys: Key[], interrupt: () => void): boolean {
  const { stdin } = process;
  if (!stdin.isTTY || !process.stdout.isTTY) return false;
  emitKeypressEvents(stdin);
  stdin.setRawMode(true);
  stdin.resume();
  stdin.on('keypress', (_, pressed: { name?: string; ctrl?: boolean }) => {
    // In this mode the terminal sends no signal by itself.
    if (pressed.ctrl && pressed.name === 'c') interrupt();
    else keys.find(({ key }) => key === pressed.name)?.press();
  });
  process.once('exit', () => stdin.setRawMode(false));
  return true;
}
