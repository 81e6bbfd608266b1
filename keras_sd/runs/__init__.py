"""Networks with their data, from a configuration, a run or published weights, and their export."""
