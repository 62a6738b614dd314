"""What is computed from trained heads, stored records and the paper's linear model.

- `fisher`: Fisher information of two unpaired linear Gaussian modalities (section 3).
"""
