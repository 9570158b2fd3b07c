//! The whole line as real processes: devices by `mosquitto_pub`, Python and `wattle-device`; both brokers; edge and fog
//! node; SQL at the end. All of it stands in `tests/`.
