//! `umacvlan daemon`: parents and links that outlive the command that asked for them.

mod service;
