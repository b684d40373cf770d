//! `loam.v1`: messages to requests, events to messages, problems to statuses' details.
