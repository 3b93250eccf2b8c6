"""What a device draws in each state: radios that were published, the processor's own counter, and a user's meter."""
