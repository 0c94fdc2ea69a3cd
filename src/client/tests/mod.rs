mod encoding;
mod errors;
