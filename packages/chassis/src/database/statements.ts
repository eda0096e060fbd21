import type { Result, Statement } from './pipeline.ts';

/** Runs one statement, in a transaction of its own or in one that is open. */
export type Send = (statement: Statement) => Promise<Pick<Result, 'rows'>>;
