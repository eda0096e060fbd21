const strict = new TextDecoder('utf-8', { fatal: true });

/**
 * Text from bytes; a byte order mark is dropped. Invalid bytes are refused, not replaced by U+FFFD: one decoder for events
 * and for HTTP.
 * @throws {TypeError} when the bytes are not UTF-8
 */
export const decodeUtf8 = (bytes: Uint8Array): string => strict.decode(bytes);
