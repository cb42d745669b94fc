"""Derived bundles by recipe: smaller number formats, pruned weights, optimised graphs. No git in here.

`build.build` and `build.recipe_key` are the whole of it; what they take and give is in `values`.
"""
