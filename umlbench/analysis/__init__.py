"""What is computed from trained heads, stored records and the paper's linear model.

- `fisher`: Fisher information of two unpaired linear Gaussian modalities (section 3);
- `exchange_rate`: words worth one image, from accuracy over shots and sentences (section 4.4);
- `robustness`: a head's accuracy on other test sets of its classes (section 4.2);
- `geometry`: margins, separation, prototypes and decision planes of a head (appendix F).
"""
