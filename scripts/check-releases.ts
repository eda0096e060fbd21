// Versions that repeat each other, and changelogs that lack the release of their version.
import { faultsOf } from './release/faults.ts';
import { units } from './release/units.ts';

export const checkReleases = (): string[] => units().flatMap(faultsOf);
