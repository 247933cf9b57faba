"""Use of a trained model from the app: the jobs that follow training, each with a form for its options."""
