//! The server: remote write in, scoring, requests out, feedback, the page
