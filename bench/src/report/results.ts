// What one run has measured.
import type { FlowResult, FlowSettings } from '../flow.ts';
import type { FootprintResult } from '../footprint.ts';
import type { GrowthResult } from '../growth.ts';
import type { MessagingResult } from '../messaging.ts';
import type { SignUpResult } from '../sign-ups.ts';
import type { Work } from '../systems.ts';

export interface Results {
  /** ISO 8601 */
  date: string;
  machine: { cores: number; processor: string; node: string };
  broker: string;
  database: string;
  size: 'quick' | 'default' | 'full';
  rounds: number;
  flow: {
    settings: FlowSettings;
    /** Name of the system that ratios are to. */
    reference: string;
    systems: { name: string; title: string; work: Work }[];
    runs: FlowResult[];
  };
  signUps?: SignUpResult[];
  restarts?: SignUpResult[];
  messaging?: MessagingResult[];
  footprint?: FootprintResult[];
  growth?: GrowthResult[];
}
