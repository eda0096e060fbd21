// What compiles, and what does not, for users of the package. `make check` compiles this file; it is not run.
import {
  type AnyEvent,
  buildEvent,
  type CloudEvent,
  type DataOf,
  defineEvent,
  defineMethod,
  type EventDefinition,
  Joi,
  type MethodDefinition,
  parseEvent,
  uuid,
} from '@warren/events';

interface Packed {
  parcelId: string;
  weight: number;
}

const packed = defineEvent<Packed>({
  type: 'parcel.packed',
  version: 1,
  data: { parcelId: uuid().required(), weight: Joi.number().required() },
});

// --- Events ---

packed satisfies EventDefinition<Packed>;
packed satisfies AnyEvent;
({ parcelId: '1', weight: 2 }) satisfies DataOf<typeof packed>;
// @ts-expect-error a field of the data is missing
({ parcelId: '1' }) satisfies DataOf<typeof packed>;
// @ts-expect-error the schema has a field that the type lacks
defineEvent<Packed>({ type: 'parcel.packed', version: 1, data: { height: Joi.number() } });
// @ts-expect-error a version is a number
defineEvent<Packed>({ type: 'parcel.packed', version: '1', data: {} });

const parts = { id: '1', source: '/parcel', time: new Date() };
const event: CloudEvent<Packed> = buildEvent(packed, { ...parts, data: { parcelId: '1', weight: 2 } });
// @ts-expect-error data of another shape
buildEvent(packed, { ...parts, data: { parcelId: '1', weight: '2' } });
// @ts-expect-error the envelope needs an id
buildEvent(packed, { source: '/parcel', time: new Date(), data: { parcelId: '1', weight: 2 } });

const parsed = parseEvent<Packed>(Buffer.from(''), [packed]);
parsed.data.weight satisfies number;
// @ts-expect-error the subject may be missing
parsed.subject satisfies string;
// @ts-expect-error the data has no such field
event.data.height;

// --- Methods ---

const find = defineMethod<{ parcelId: string }, { weight: number }>({
  method: 'parcel.find',
  version: 1,
  callers: ['gateway'],
  access: { owner: 'parcelId' },
  request: { parcelId: uuid().required() },
  reply: { weight: Joi.number().required() },
});

find satisfies MethodDefinition<{ parcelId: string }, { weight: number }>;
defineMethod<{ parcelId: string }, object>({
  method: 'parcel.find',
  version: 1,
  callers: ['gateway'],
  // @ts-expect-error the owner is a field of the request
  access: { owner: 'userId' },
  request: { parcelId: uuid().required() },
  reply: {},
});
// @ts-expect-error a method names its callers
defineMethod<object, object>({ method: 'parcel.find', version: 1, access: 'public', request: {}, reply: {} });
