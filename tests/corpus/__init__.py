"""What users of other tools met: inputs, and what is right."""
