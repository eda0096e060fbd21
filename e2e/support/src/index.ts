export { type Accounts, takeAccounts } from './accounts.ts';
export { type Cable, openCable } from './cable.ts';
export { figure, percentile, ratio } from './figures.ts';
export { type Answer, createClient, type HttpClient, isProblem } from './http.ts';
export { type Attempt, type Load, type LoadOptions, type SignUp, signUpOnce, startLoad } from './load.ts';
export { type Random, seeded } from './random.ts';
export { checkout, type Name, type Replica } from './replica.ts';
export { type System, type SystemOptions, withSystem } from './system.ts';
