export { default as Joi } from 'joi';
export * from './envelope.ts';
export * from './event.ts';
export * from './session.ts';
export * from './user.ts';
