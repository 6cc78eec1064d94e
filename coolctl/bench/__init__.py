"""`coolctl bench`: what the product costs, each figure beside a reference that is built or started in the same run.

Rows are measured on the product's own code, in processes of their own with a time limit; ratios come from interleaved
runs, and what a reference computes is compared with what the product computes, so that no speed comes from doing less.
"""
