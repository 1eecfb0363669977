"""Action error of a policy on recorded episodes: no environment is needed."""
