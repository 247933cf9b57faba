"""What a person sees in the full-screen app."""
