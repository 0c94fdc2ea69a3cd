export * from "./taffrail/v1/admin.js";
export * from "./taffrail/v1/broker.js";
export * from "./taffrail/v1/entities.js";
export * from "./taffrail/v1/groups.js";
export * from "./taffrail/v1/log.js";
export * from "./taffrail/v1/record.js";
export * from "./taffrail/v1/tokens.js";
export * from "./taffrail/v1/topics.js";
