import type { Check } from '../check.ts';
import { crash } from './crash.ts';
import { drain } from './drain.ts';
import { duplicates } from './duplicates.ts';
import { failing } from './failing.ts';
import { forged } from './forged.ts';
import { handled } from './handled.ts';
import { poison } from './poison.ts';
import { publisher } from './publisher.ts';
import { reordering } from './reordering.ts';
import { rpc } from './rpc.ts';
import { topology } from './topology.ts';
import { unknownFields } from './unknown-fields.ts';
import { variants } from './variants.ts';

/** In the order in which they run: those that end the service, and those that look back on all messages, come last. */
export const CHECKS: readonly Check[] = [
  topology,
  handled,
  duplicates,
  reordering,
  unknownFields,
  variants,
  poison,
  forged,
  failing,
  rpc,
  crash,
  drain,
  publisher,
];
