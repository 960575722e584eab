"""The embedded responder: a small rule-based answerer behind a real chat-completions interface."""
