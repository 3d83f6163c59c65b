# SPDX-License-Identifier: MIT
"""The electricity grid: how many grams of CO2e a kilowatt-hour carries, where and when."""
