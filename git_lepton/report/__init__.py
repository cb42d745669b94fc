"""Text for people and JSON for programs: values in, text out, no I/O but the progress bar's terminal."""
