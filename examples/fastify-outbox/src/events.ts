import { defineEvent, Joi } from '@warren/events';

/** What this application publishes. No other service has to consume it. */
export const thingSaved = defineEvent<{ thingId: string; name: string }>({
  type: 'thing.saved',
  version: 1,
  data: { thingId: Joi.string().guid().required(), name: Joi.string().required() },
  mayGoUnconsumed: true,
});
