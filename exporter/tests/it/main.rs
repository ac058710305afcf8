//! The exporter from outside: its collectors on a captured host, and the real binary on real sockets.

mod collectors_changes;
mod collectors_golden;
mod collectors_hostile;
mod collectors_network;
mod collectors_textfile;
mod collectors_vanished;
mod commands;
mod compatibility;
mod dashboards;
mod web_attacks;
mod web_clients;
mod web_connections;
mod web_filters;
mod web_reload;
mod web_serving;
mod web_sockets;
mod web_start;
mod web_status;
mod web_support;
mod web_tls_settings;
mod web_users;
