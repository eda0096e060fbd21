export { default as Joi } from 'joi';
export * from './envelope.ts';
export * from './event.ts';
export * from './method.ts';
export * from './personal.ts';
export { recognizerOf } from './recognize.ts';
export * from './text.ts';
export * from './utf8.ts';
