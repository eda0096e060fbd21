import { type Problem, problem, RETRY_SHORTLY } from '../errors.ts';

/** @param timeout ms */
export const overdue = (timeout: number): Problem =>
  problem(503, {
    title: 'Deadline exceeded',
    code: 'deadline_exceeded',
    detail: `The request did not complete within ${timeout} ms and was cancelled.`,
    headers: RETRY_SHORTLY,
  });

/** @param timeout ms */
export const tooSlow = (timeout: number): Problem =>
  problem(408, {
    detail: `The request was not received completely within ${timeout} ms.`,
    headers: { connection: 'close' },
  });
