"""What bench/rebalance is made of: instances from a seed, an evaluator that knows no planner, hbal beside it."""
